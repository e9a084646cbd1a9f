//! What a marketplace may call a region, and what we may.

/// Cities that manifests use for the regions of a common provider.
const CITIES: &[(&str, &str)] = &[
    ("us-east-1", "virginia"),
    ("us-west-2", "oregon"),
    ("eu-west-1", "dublin"),
    ("eu-west-2", "london"),
    ("eu-central-1", "frankfurt"),
    ("ap-northeast-1", "tokyo"),
    ("ap-southeast-1", "singapore"),
    ("ap-southeast-2", "sydney"),
    ("ap-south-1", "mumbai"),
    ("ca-central-1", "montreal"),
];

/// All names a region goes by, the most exact first: `amazon-web-services::us-east-1` is also `us-east-1`,
/// `virginia` and `us`. Two regions are the same place when they share a name, and the earlier the closer.
pub(super) fn names(region: &str) -> Vec<String> {
    let mut names = vec![region.to_owned()];
    let short = region.rsplit("::").next().unwrap_or(region);
    names.push(short.to_owned());
    for (code, city) in CITIES {
        if short == *code || short == *city {
            names.push((*code).to_owned());
            names.push((*city).to_owned());
        }
    }
    let continent = names
        .iter()
        .filter_map(|name| name.split_once('-'))
        .map(|(continent, _)| continent)
        .find(|continent| continent.len() == 2);
    names.extend(continent.map(str::to_owned));
    let mut seen = Vec::new();
    for name in names {
        if !name.is_empty() && !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn the_most_exact_name_comes_first() {
        assert_eq!(
            names("amazon-web-services::us-east-1"),
            [
                "amazon-web-services::us-east-1",
                "us-east-1",
                "virginia",
                "us"
            ]
        );
        assert_eq!(names("frankfurt"), ["frankfurt", "eu-central-1", "eu"]);
        assert_eq!(names("us"), ["us"]);
        assert_eq!(names("mars"), ["mars"]);
        assert!(names("").is_empty());
    }
}
