{"next_seq":1}
09dcac82
