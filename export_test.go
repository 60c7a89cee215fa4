package recovery

// SetCodeLength makes codes that can be guessed.
func (s *Service) SetCodeLength(n int) { s.codeLength = n }
