from bnnlab_feedback.contracts import *
