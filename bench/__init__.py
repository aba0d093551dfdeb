"""Training per fold, evaluation from predictions alone, tables. Imports `models` and `prep`."""
