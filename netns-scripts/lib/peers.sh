# Of the lab `overlay`: the overlay hosts.
peers_run() { :; }
peers_report() { :; }
peers_report_json() { printf '"overlay":null'; }
