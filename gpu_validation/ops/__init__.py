"""Operations of the supernets: the same cell by several backends, all with the signature of the reference."""
