from bnnlab_tables.contracts import *
