"""How large a table would become, found in its metadata before anything of it is decoded.

A page of Parquet or a buffer of Arrow says how many bytes and values it stands for, and a few bytes can say billions.
What lies about that is left to the bounds on the memory and the processor time of the process that decodes it.

    budget      how much there may be
    parquet     pages of Parquet
    arrow       messages of Arrow IPC
"""
