package cluster

import "time"

func init() { reviewTime, firstRetry, maxFeedBytes = time.Second, 50*time.Millisecond, 16<<20 }
