package dataplane

import "time"

// A tunnel's path may be narrower than its first link: routers on it say so by ICMP
// frag needed about the outer packet. What they say holds for pathMTUAge, as in the
// kernel's route exceptions (sysctl ip_rt_mtu_expires), and no less than leastPathMTU is
// believed (ip_rt_min_pmtu).
const (
	pathMTUAge   = 10 * time.Minute
	leastPathMTU = 552
)

// pathMTU is the MTU of the way to s, at most the link's.
func (s *Server) pathMTU(link int, now time.Duration) int {
	if m := s.mtu.Load(); m != 0 && int64(now) < s.mtuUntil.Load() {
		return min(link, int(m))
	}
	return link
}

// learnMTU takes a router's word for the MTU of the way to s.
func (s *Server) learnMTU(mtu int, now time.Duration) {
	s.mtu.Store(int32(max(mtu, leastPathMTU)))
	s.mtuUntil.Store(int64(now + pathMTUAge))
}
