from bnnlab_bop.contracts import *
