"""What `make results`, `make ablation` and their kin run, to fill the tables of the documents. Not in the wheel."""
