"""The data platform: raw and processed partitions of a shop, daily, by Spark on EMR."""
