package health

import "errors"

// ErrLocal is in the errors of dialers that could not even ask: no port, no source address,
// no way to the target. It says nothing about the target; a prober answers WhyLocal.
var ErrLocal = errors.New("the director itself cannot ask")
