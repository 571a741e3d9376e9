from bnnlab_mesu.contracts import *
