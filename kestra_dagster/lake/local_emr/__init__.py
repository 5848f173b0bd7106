"""An EMR endpoint for one machine: speaks EMR's JSON 1.1 protocol and truly runs spark-submit."""
