"""`python -m dtj_trainer.launch [--] COMMAND ARGS...`."""

from dtj_trainer.launch.main import main

if __name__ == "__main__":
    main()
