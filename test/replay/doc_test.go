// Package replay turns conversations recorded from a kernel IPVS into what dirigo replay
// reads (a configuration, a capture, a script of commands), runs the command, and holds
// what it says and sends against the recording.
package replay

import (
	"time"

	"github.com/dirigo-lb/dirigo/test/recording"
)

// at is the instant of the i-th step. Steps of one millisecond are a nanosecond apart, so
// that what comes out can be told by its time.
func at(s *recording.Step, i int) time.Duration { return s.At() + time.Duration(i) }
