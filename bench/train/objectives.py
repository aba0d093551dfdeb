"""What training minimises beside the mean loss of the clips: a mean weighed by class, and group DRO over subjects.

Group DRO: Sagawa, Koh, Hashimoto, Liang, "Distributionally Robust Neural Networks for Group Shifts", ICLR 2020.
[paper] its algorithm 1; [code] how its authors' code does it on batches; [choice] ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["ClassWeights", "GroupDRO"]


class ClassWeights:
    """Weighs clips by the inverse frequency of their class among the training clips, to a power.

    With n_c clips of class c among N: w_c = (N / n_c)^power, and the loss of a batch is sum_i w_i l_i / sum_i w_i, as
    torch's cross-entropy has it. Power 0 is the mean over the clips; with 1 each class weighs as much as any other.

    Parameters
    ----------
    labels
        Class of each training clip.
    power
        0 to 1.
    device
        Where the losses lie.
    """

    def __init__(self, labels: Sequence[int], power: float, device: torch.device) -> None:
        counts = Counter(labels)
        weights = {label: (len(labels) / count) ** power for label, count in counts.items()}
        self.weights = torch.tensor([weights[label] for label in labels]).to(device)  # (N,), float32, of each clip

    def __call__(self, losses: Tensor, batch: Tensor) -> Tensor:
        """The weighed loss of a batch.

        Parameters
        ----------
        losses
            (B,), the loss of each clip.
        batch
            (B,), their indices among the training clips.
        """
        weights = self.weights[batch]
        return (weights * losses.float()).sum() / weights.sum()


class GroupDRO:
    """Weighs the training subjects by exponentiated gradient: those that do worst count most.

    With L_g the mean loss of subject g's clips in a batch, 0 where it has none there [code]:

        q_g <- q_g exp(step L_g), scaled to sum 1 [paper]; loss = m / n sum_g q_g L_g,

    with m training subjects, n of them in the batch. The weights start equal.

    [choice] The groups are subjects: a test subject is one more, and the worst of those seen stands for it. The factor
    m / n: a batch holds few of the subjects, and without it the loss would shrink with their number, against the
    model's other terms. It makes the loss of a random batch that of all subjects on average. With step 0 what is left
    is the mean over the subjects of a batch, which is the mean over clips where all have equally many. Batches are
    drawn by clip, as without group DRO; the paper draws each group equally often.

    Nothing in it waits for the device.

    Parameters
    ----------
    subjects
        Subject of each training clip, in order.
    step
        Step size of the weights; by default 0.01 in the authors' code.
    device
        Where the losses lie.
    """

    def __init__(self, subjects: Sequence[str], step: float, device: torch.device) -> None:
        names = sorted(set(subjects))
        numbers = {name: number for number, name in enumerate(names)}
        self.step = step
        self.group = torch.tensor([numbers[name] for name in subjects]).to(device)  # (N,), of each clip
        self.numbers = torch.arange(len(names)).to(device)  # (m,)
        self.log_weights = torch.zeros(len(names)).to(device)  # (m,), up to a constant

    @property
    def weights(self) -> Tensor:
        """q, (m,): weight of each training subject, in order of name."""
        return self.log_weights.softmax(0)

    def __call__(self, losses: Tensor, batch: Tensor) -> Tensor:
        """Update the weights and give the weighed loss of a batch.

        Parameters
        ----------
        losses
            (B,), the loss of each clip.
        batch
            (B,), their indices among the training clips.
        """
        member = (self.group[batch] == self.numbers[:, None]).float()  # (m, B)
        count = member.sum(1)  # (m,)
        risk = (member * losses.float()).sum(1) / count.clamp(min=1)  # (m,), 0 of subjects outside the batch
        self.log_weights = self.log_weights + self.step * risk.detach()
        present = (count > 0).float().sum()
        return len(self.numbers) / present * (self.weights * risk).sum()
