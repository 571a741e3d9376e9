from bnnlab_dfa.contracts import *
