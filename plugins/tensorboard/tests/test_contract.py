from bnnlab_tensorboard.contracts import *
