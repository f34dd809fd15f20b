"""`python -m peerlearn`, and so `torchrun --nproc-per-node 2 -m peerlearn`: the command line."""

from peerlearn.cli import main

if __name__ == "__main__":
    main()
