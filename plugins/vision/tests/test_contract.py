from bnnlab_vision.contracts import *
