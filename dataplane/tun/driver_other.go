//go:build !linux

package tun

import (
	"errors"
	"fmt"

	"github.com/dirigo-lb/dirigo/dataplane"
)

func (d *Driver) open(int) ([]dataplane.Queue, error) {
	return nil, fmt.Errorf("a multi-queue TUN device needs Linux: %w", errors.ErrUnsupported)
}
