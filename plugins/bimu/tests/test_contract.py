from bnnlab_bimu.contracts import *
