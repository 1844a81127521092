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

// Poll refuses: there is no queue to wait for on this system.
func Poll([]int, time.Duration, bool) (int, error) { return 0, errNoAFPacket }
