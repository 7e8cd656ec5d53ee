"""What a report is made of, before any format: numbers, tables, charts, pictures, words; sections of them."""
