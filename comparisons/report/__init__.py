"""The report: verdicts and draws to HTML, JSON, CSV and netCDF."""
