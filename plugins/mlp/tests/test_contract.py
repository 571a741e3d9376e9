from bnnlab_mlp.contracts import *
