package dataplane

// SetDown says of a server whether it is down, as opposed to one that has weight 0 and
// goes on serving those who know it: templates of persistence lead nobody to a server that
// is down and has weight 0, as with expire_quiescent_template, for this server alone. A
// server that is added is not down. Safe for concurrent use.
func (p *Plane) SetDown(of ServerOf, down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.known(&of); s != nil {
		s.down.Store(down)
	}
}

// leads reports whether a template may lead to its server.
func (s *Server) leads(expireQuiescent bool) bool {
	return s != nil && s.Available.Load() && (s.Weight.Load() != 0 || !expireQuiescent && !s.down.Load())
}
