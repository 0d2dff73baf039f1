"""`python -m gpu_validation`, for `torchrun -m gpu_validation search ...`."""

from gpu_validation.cli import main

if __name__ == "__main__":
    main()
