"""gate.data: is the data sound in itself, and how does it differ from the champion's?"""
