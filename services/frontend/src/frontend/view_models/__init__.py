"""What each page says, as frozen values made from the update manager's JSON; no clock, network or markup in here."""
