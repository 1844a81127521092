//go:build !linux

package afpacket

import (
	"errors"
	"fmt"
	"time"

	"github.com/dirigo-lb/dirigo/dataplane"
)

var errNoAFPacket = fmt.Errorf("AF_PACKET needs Linux: %w", errors.ErrUnsupported)

func (d *Driver) lookup() error { return errNoAFPacket }

func (d *Driver) open(int) ([]dataplane.Queue, error) { return nil, errNoAFPacket }

// Nap does nothing: there is no queue to fill meanwhile on this system.
func Nap(time.Duration) {}

// Poll refuses: there is no queue to wait for on this system.
func Poll([]int, time.Duration, bool) (int, error) { return 0, errNoAFPacket }
