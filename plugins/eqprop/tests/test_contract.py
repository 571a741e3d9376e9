from bnnlab_eqprop.contracts import *
