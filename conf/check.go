package conf

// Check refuses what an IPVS kernel refuses in a service's own definition, whatever
// else there is (ip_vs_add_service, ip_vs_edit_service): an unknown scheduler or
// persistence engine with ErrNoScheduler, a mask of no family with ErrInvalid. It
// allows more than Validate, which knows what makes sense in a file.
func (s *Service) Check() error {
	return invalid(func(p *problems) {
		p.checkScheduler("", s)
		p.checkPersistence("persistence", s)
	})
}

// Check refuses what an IPVS kernel refuses in a server's own numbers before it looks
// for the server (ip_vs_add_dest, ip_vs_edit_dest): weight and thresholds with
// ErrRange, a GUE tunnel without a port with ErrInvalid.
func (s *Server) Check() error {
	return invalid(func(p *problems) {
		p.checkNumbers("", s)
		if s.Forward == Tunnel {
			p.checkTunnel("tunnel", s)
		}
	})
}
