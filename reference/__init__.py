"""The sources of the reference models: flights out of New York, and handwritten digits. The library knows neither."""
