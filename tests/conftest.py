"""What all tests share: a small machine's settings, before torch is imported anywhere."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests run in parallel; threads would only fight over the cores
os.environ.setdefault("STITCHWORK_PRESET", "smoke")
