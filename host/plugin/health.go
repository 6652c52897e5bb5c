package plugin

import (
	"context"
	"time"
)

// healthTime bounds a plugin's answer to whether it works.
const healthTime = 5 * time.Second

func (g *Generation) health(ctx context.Context) error { return nil }
