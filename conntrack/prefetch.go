//go:build amd64 || arm64

package conntrack

import "unsafe"

// prefetch asks for the cache line at p and does not wait for it. Any p will do.
//
//go:noescape
func prefetch(p unsafe.Pointer)
