//! Records as Windows writes them.

/// A logon as Windows tells it; another number is another logon.
pub fn windows_logon(number: usize) -> String {
    serde_json::json!({
        "EventID": 4624, "Channel": "Security", "Hostname": format!("WS{}.acme.example", number % 7),
        "TimeCreated": format!("2024-03-{:02}T{:02}:{:02}:{:02}.000Z", number / 86_400 + 1, number / 3_600 % 24, number / 60 % 60, number % 60),
        "TargetUserName": format!("user{}", number % 50), "TargetDomainName": "ACME",
        "TargetUserSid": format!("S-1-5-21-1-2-3-{}", 1_000 + number % 50), "TargetLogonId": format!("{:#x}", 0x1_0000 + number),
        "LogonType": "3", "IpAddress": format!("10.1.{}.{}", number % 4, number % 200 + 1),
        "Message": "An account was successfully logged on.",
    })
    .to_string()
}

/// Lines of logons.
pub fn windows_logons(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|number| windows_logon(number) + "\n").collect()
}
