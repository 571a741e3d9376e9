from bnnlab_rehearsal.contracts import *
