from bnnlab.testing import StreamContract


class TestPermutedDigits(StreamContract):
    name = "permuted-digits"
    options = {"tasks": 3, "validation": 0.1}


class TestSplitDigits(StreamContract):
    name = "split-digits"


class TestSplitDigitsWithTaskIds(StreamContract):
    name = "split-digits"
    options = {"incremental": "task", "validation": 0.2}


class TestChunkedDigits(StreamContract):
    name = "chunked-digits"


class TestDigits(StreamContract):
    name = "digits"


class TestSequence(StreamContract):
    name = "sequence"
    options = {"datasets": ["digits"], "task_ids": True}
