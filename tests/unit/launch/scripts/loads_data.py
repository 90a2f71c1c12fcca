"""A training's data loader with workers, whose dataset is the script's own: `loads_data.py [START METHOD]`."""

import multiprocessing
import sys

from torch.utils.data import DataLoader, Dataset


class Squares(Dataset):
    def __getitem__(self, index):
        return index * index

    def __len__(self):
        return 8


if __name__ == "__main__":
    if len(sys.argv) > 1:
        multiprocessing.set_start_method(sys.argv[1])
    seen = sorted(number for batch in DataLoader(Squares(), batch_size=2, num_workers=2) for number in batch.tolist())
    print("loaded", multiprocessing.get_start_method(), seen, flush=True)
