"""Feedback alignment: the error goes back through fixed random weights.

Source: Lillicrap, Cownden, Tweed and Akerman, "Random synaptic feedback weights support error
backpropagation for deep learning", Nature Communications 7:13276, 2016.
"""

from typing import Annotated

import torch
from torch import Tensor

from bnnlab.families.feedback import Feedback, random_feedback
from bnnlab.markers import Positive, Search
from bnnlab_feedback.rule import FeedbackRule, key, size


class FeedbackAlignment(FeedbackRule):
    """Sends the error back through fixed random weights B in place of a layer's weights W.

    The elements of B have mean 0 and standard deviation scale * a, where a is the root mean square
    of the layer's weights when the rule is attached: 1 in a binary layer. B never changes. In the
    course of learning W becomes more like B, and so the error becomes useful.

    Args:
        feedback: Distribution of the feedback weights; sign: two values of equal size.
        scale: Standard deviation of the feedback weights, in units of the root mean square of the
            layer's initial weights.
    """

    name = "fa"
    capturable = True

    def __init__(
        self,
        feedback: Feedback = "normal",
        scale: Annotated[Positive, Search(0.1, 10.0)] = 1.0,
    ) -> None:
        super().__init__()
        self.distribution, self.scale = feedback, scale

    def start(self, _name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
        """Draw B."""
        shape = tuple(weight.shape)
        return random_feedback(self.distribution, shape, generator) * (self.scale * size(weight))

    def feedback(self, name: str, _weight: Tensor) -> Tensor:
        """Return the same B in every step."""
        return self.get_buffer(key(name))
