from bnnlab_backprop.contracts import *
