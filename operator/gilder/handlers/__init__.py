"""The operator in the cluster: from watch events to reconciles, from outcomes to status."""
