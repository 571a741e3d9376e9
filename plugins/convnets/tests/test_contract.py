from bnnlab_convnets.contracts import *
