// Package realserver makes a host a real server of a DR or tunnel service: it holds the
// VIP without answering ARP for it, and takes the director's tunnel headers off where
// the kernel has no module for that. What it changed it takes back at its end.
//
// It works in the network namespace of the calling thread. It knows addresses, sysctls
// and tunnel packets; it must not know services, weights or the director.
package realserver
