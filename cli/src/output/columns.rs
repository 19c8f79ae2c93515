//! Columns of text, set the way Consul's commands set them, so that scripts which cut them keep working.
//!
//! Cells in, one text without a last newline out. Pure.

/// Sets rows in columns two blanks apart. Every cell but the last of its row is filled up to the widest cell of its
/// column; blanks around a cell's text are dropped.
pub fn columns<R, C>(rows: R) -> String
where
    R: IntoIterator<Item = C>,
    C: IntoIterator<Item = String>,
{
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|row| row.into_iter().map(|cell| cell.trim().to_owned()).collect()).collect();
    set(&rows, "  ")
}

/// Sets rows in columns `gap` blanks apart, cells as they are.
pub fn tabbed<R, C>(rows: R, gap: usize) -> String
where
    R: IntoIterator<Item = C>,
    C: IntoIterator<Item = String>,
{
    let rows: Vec<Vec<String>> = rows.into_iter().map(|row| row.into_iter().collect()).collect();
    set(&rows, &" ".repeat(gap))
}

fn set(rows: &[Vec<String>], gap: &str) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let lines: Vec<String> = rows.iter().map(|row| line(row, &widths, gap)).collect();
    lines.join("\n")
}

fn line(row: &[String], widths: &[usize], gap: &str) -> String {
    let Some((last, others)) = row.split_last() else { return String::new() };
    let mut line = String::new();
    for (cell, width) in others.iter().zip(widths) {
        line.push_str(&format!("{cell:<width$}{gap}"));
    }
    line.push_str(last);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[&[&str]]) -> Vec<Vec<String>> {
        text.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn sets_columns() {
        let table: [(&[&[&str]], &str); 5] = [
            (&[], ""),
            (&[&["Node", "DC"], &["n1", "dc1"]], "Node  DC\nn1    dc1"),
            // Empty cells keep their width, a last one adds nothing.
            (&[&["a", "b", "c"], &["", "", ""]], "a  b  c\n      "),
            // Rows of different lengths, and letters that take two bytes.
            (&[&["ünï"], &["x", "y"], &["wide", "z", "w"]], "ünï\nx     y\nwide  z  w"),
            (&[&[" a ", "b"], &["long", " c"]], "a     b\nlong  c"),
        ];
        for (given, expected) in table {
            assert_eq!(columns(rows(given)), expected);
        }
    }

    #[test]
    fn sets_tabs() {
        assert_eq!(tabbed(rows(&[&["consul", ""], &["web", "a,b"]]), 6), "consul      \nweb         a,b");
    }
}
