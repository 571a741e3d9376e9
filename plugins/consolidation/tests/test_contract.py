from bnnlab_consolidation.contracts import *
