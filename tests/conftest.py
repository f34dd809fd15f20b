"""Settings of the whole test run."""

import torch

torch.set_num_threads(1)  # tiny networks run faster, and two tests at a time do not compete
